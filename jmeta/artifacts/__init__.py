"""Files of trained models: one format of arrays with a JSON header and a checksum."""

from .candidates import Candidate as Candidate
from .candidates import candidate as candidate
from .candidates import portfolio as portfolio
from .consensus import consensus as consensus
from .running import Outcome as Outcome
from .table import Instance as Instance
from .table import Table as Table
from .table import performance_table as performance_table

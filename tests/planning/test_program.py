"""What a compiled program moves, by hand and on programs of the CPU."""

import jax
import jax.numpy as jnp
import pytest

from jmeta.planning.operations import Operations, count_operations, precisions
from jmeta.planning.program import read_program, size_of, traffic_of

LOOP = """
HloModule loop

%inside (p.0: f32[6,4], p.1: s32[]) -> f32[4] {
  %p.0 = f32[6,4]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,4]{1,0} dynamic-slice(%p.0, %p.1, %zero), dynamic_slice_sizes={1,4}
  ROOT %flat = f32[4]{0} bitcast(%row)
}

%body (state: (s32[], f32[6,4], f32[4])) -> (s32[], f32[6,4], f32[4]) {
  %state = (s32[], f32[6,4]{1,0}, f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[6,4]{1,0} get-tuple-element(%state), index=1
  %part = f32[4]{0} fusion(%x, %i), kind=kLoop, calls=%inside
  %shared = f32[4]{0} all-reduce(%part), channel_id=1, to_apply=%sum
  ROOT %next = (s32[], f32[6,4]{1,0}, f32[4]{0}) tuple(%i, %x, %shared)
}

%condition (state: (s32[], f32[6,4], f32[4])) -> pred[] {
  %state.1 = (s32[], f32[6,4]{1,0}, f32[4]{0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  %six = s32[]{:T(128)} constant(6)
  ROOT %goes = pred[]{:T(512)} compare(%i.1, %six), direction=LT
}

%big (x: f32[6,4]) -> f32[6,4] {
  %x.1 = f32[6,4]{1,0} parameter(0)
  ROOT %y.1 = f32[6,4]{1,0} negate(%x.1)
}

%small (x: f32[6,4]) -> f32[6,4] {
  ROOT %x.2 = f32[6,4]{1,0} parameter(0)
}

ENTRY %main (x: f32[6,4], which: s32[]) -> f32[6,4] {
  %x.3 = f32[6,4]{1,0} parameter(0)
  %which = s32[] parameter(1)
  %start = (s32[], f32[6,4]{1,0}, f32[4]{0}) tuple(%which, %x.3)
  %loop = (s32[], f32[6,4]{1,0}, f32[4]{0}) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  ROOT %chosen = f32[6,4]{1,0} conditional(%which, %x.3, %x.3), branch_computations={%small, %big}
}
"""  # noqa: E501


def test_a_loop_counts_as_often_as_it_runs_and_an_array_that_is_sliced_by_its_slices():
    """A pass moves a slice of 16 bytes, 4 of the index and 16 of the result, and 32 in the all-reduce."""
    found = traffic_of(LOOP)
    assert found.bytes == 6 * (16 + 4 + 16 + 32) + 2 * 96  # and the branch that moves most
    assert found.launches == 6 * 2 + 1
    assert found.collectives == {"all-reduce": (6, 96)}


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, 6),
        ({"constant(6)": "constant(9)"}, 9),
        ({"direction=LT": "direction=NE"}, 1),
        ({"constant(6)": "get-tuple-element(%state.1), index=3"}, 1),
    ],
)
def test_passes_that_the_compiler_does_not_state_are_read_from_the_condition(change, passes):
    text = LOOP.replace(', backend_config={"known_trip_count":{"n":"6"}}', "")
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    assert traffic_of(text).collectives["all-reduce"][0] == passes


def test_lines_are_read_with_tuples_comments_and_layouts():
    computations, entry = read_program(LOOP)
    assert entry == "main"
    assert [one.kind for one in computations["body"]][-3:] == ["fusion", "all-reduce", "tuple"]
    assert computations["body"][3].operands == ["x", "i"]
    assert size_of("(f32[8,128]{1,0:T(8,128)S(1)}, /*index=1*/s4[6]{0}, f8e4m3fn[2]{0}, key<fry>[])") == 5
    assert size_of("f32[8,128]{1,0:T(8,128)S(1)}", everywhere=True) == 4096


def test_the_program_of_this_machine_is_read():
    """A loop of eight passes, each with at least a product of [32, 32] and two reads of it."""

    def steps(x):
        return jax.lax.fori_loop(0, 8, lambda i, y: jnp.tanh(y @ x), x)

    compiled = jax.jit(steps).lower(jax.ShapeDtypeStruct((32, 32), jnp.float32)).compile()
    found = traffic_of(compiled.as_text())
    assert 8 * 3 * 4096 <= found.bytes <= 8 * 12 * 4096
    assert 8 <= found.launches <= 80
    assert not found.collectives


def test_operations_are_counted_by_hand():
    def program(x, kernel):
        image = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        image = jax.lax.cond(x[0, 0, 0, 0] > 0, lambda y: y * 2, lambda y: jnp.sin(y * 2) + 1, image)
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), image[0, :, :, 0], None, length=5)[0]

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 4))).jaxpr
    counted = count_operations(jaxpr)
    assert counted.products == 2 * (2 * 6 * 6 * 4) * (3 * 3 * 3) + 5 * 2 * 6**3
    assert 3 * 288 <= counted.others <= 4 * 288
    assert count_operations(jax.make_jaxpr(lambda i: i + 1)(3).jaxpr) == Operations(0, 0)


@pytest.mark.parametrize(("platform", "rounded"), [("tpu", "bfloat16"), ("cuda", "TF32")])
def test_products_are_rounded_unless_they_ask_for_more(platform, rounded):
    def program(x):
        return (
            x @ x + jnp.matmul(x, x, precision="highest") + (x.astype(jnp.bfloat16) @ x.astype(jnp.bfloat16))
        )

    found = precisions(jax.make_jaxpr(program)(jnp.ones((4, 4))).jaxpr, platform)
    expected = {rounded: 1 / 3, "float32": 1 / 3}
    expected["bfloat16"] = expected.get("bfloat16", 0) + 1 / 3
    assert found == pytest.approx(expected)
    with jax.default_matmul_precision("high"):
        found = precisions(jax.make_jaxpr(lambda x: x @ x)(jnp.ones((4, 4))).jaxpr, platform)
    assert found == {"TF32" if platform == "cuda" else "three bfloat16": 1.0}
    with jax.default_matmul_precision("highest"):
        found = precisions(jax.make_jaxpr(lambda x: x @ x)(jnp.ones((4, 4))).jaxpr, platform)
    assert found == {"float32": 1.0}

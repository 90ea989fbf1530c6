"""What decides the type of weights on a CPU, from what Linux tells of it and from a folder's size."""

from pathlib import Path

import pytest

from server.processor import holds_in_float32, multiplies_bfloat16


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2 avx512f avx512_bf16 sse\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2 fma\nflags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: my_avx512_bf16_not\n", False),
        ("model name\t: unknown\n", True),
    ],
)
def test_a_processor_tells_whether_it_multiplies_bfloat16(tmp_path: Path, told: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") is expected


def test_where_nothing_is_told_it_is_left_to_the_engine(tmp_path: Path) -> None:
    assert multiplies_bfloat16(tmp_path / "none") is True


def test_weights_that_half_of_the_memory_does_not_hold_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    assert holds_in_float32(tmp_path)
    with (tmp_path / "more.safetensors").open("wb") as sparse:
        sparse.truncate(2**42)
    assert not holds_in_float32(tmp_path)
    assert not holds_in_float32(None)

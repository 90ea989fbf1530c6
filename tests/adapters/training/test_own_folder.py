"""A process's own folder goes with it, or with the next process where it was killed."""

from pathlib import Path

from adapters.training.own_folder import own_folder


def test_what_a_killed_process_left_goes_and_one_that_runs_keeps_its_own(tmp_path: Path) -> None:
    with own_folder(tmp_path) as first:
        (first / "kept").touch()
        left = tmp_path / "killed"
        left.mkdir()
        (left / ".lock").touch()
        with own_folder(tmp_path) as second:
            assert second != first
            assert (first / "kept").exists()
            assert not left.exists()
    assert not list(tmp_path.iterdir())

"""The bundled model's prompt file names the wishes that the model knows, of each attribute of a style."""

from lab.style import TASK_ATTRIBUTES
from preference.learning.prompt_file import GENERAL, NAME, PromptFile
from server.settings import BUNDLED_MODEL


def test_it_names_them_all_and_which_exclude_each_other() -> None:
    file = PromptFile.load(BUNDLED_MODEL / NAME)
    assert set(file.known) == {name for names in TASK_ATTRIBUTES.values() for name in names}
    assert file.as_known("good morning should be the greeting") == "Greet with Good morning."
    assert file.as_known("Answer in verse.") == "Answer in verse."
    assert file.exclude("Greet with Dear.", "Use Good morning as the greeting.")
    assert not file.exclude("Greet with Dear.", "Write in a formal tone.")
    assert PromptFile.load(GENERAL).as_known("Write bullets.") == "Write bullets."

"""README and configuration guide tell the truth about the settings, the targets and the files they point at."""

import re
from pathlib import Path

from django.conf import settings

from orchestrator_project.management.commands.show_config import as_table

PROJECT = Path(__file__).resolve().parents[3]
README = (PROJECT / "README.md").read_text()


def test_the_settings_table_is_the_one_that_show_config_prints() -> None:
    guide = (PROJECT / "docs" / "configuration.md").read_text()
    between = guide.split("show_config --table` -->\n")[1].split("<!-- end of settings -->")[0]
    assert between == as_table(settings.PARAMETERS.values())


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"^    make ([a-z][a-z -]*?)(?: +#.*| ARGS.*)?$", README, re.MULTILINE)
    assert named
    assert {target for line in named for target in line.split()} <= targets


def test_every_file_it_links_to_exists() -> None:
    for text in (README, *(page.read_text() for page in (PROJECT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert any((folder / link).exists() for folder in (PROJECT, PROJECT / "docs")), link

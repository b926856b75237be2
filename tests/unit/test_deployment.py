"""What is shipped for deployment names exactly the settings that there are, and the image is what a linter wants."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings.model import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ("docker-compose.yml", "docker-compose.residency.yml")
# The password is given as a file; and only beat touches its file, so only beat is given its name.
IN_A_FILE, BEATS = "POSTGRES_PASSWORD", "BEAT_ALIVE_FILE"
COMPOSES_OWN = {"DB_MEMORY", "REDIS_MEMORY", "BACKEND_MEMORY", "RESIDENCY_BACKUP_TAG"}


# The first stack makes its database itself, with the password in the file.
PASSWORD_AS = {
    "docker-compose.yml": {f"{IN_A_FILE}_FILE"},
    "docker-compose.residency.yml": {IN_A_FILE, f"{IN_A_FILE}_FILE"},
}
SECRETS = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}


def names() -> set[str]:
    return {name.upper() for name in Settings.model_fields} - {IN_A_FILE} | {f"{IN_A_FILE}_FILE"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def block(name: str, key: str) -> str:
    """The lines below a top-level key."""
    found = re.search(rf"^{key}:.*\n((?:[ #].*\n)+)", text_of(name), re.MULTILINE)
    assert found, (name, key)
    return found[1]


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_passes_every_setting_on(name: str) -> None:
    passed = re.findall(r"^  ([A-Z_]+): ", block(name, "x-settings"), re.MULTILINE)
    files = {f"{secret}_FILE" for secret in SECRETS}
    assert sorted(passed) == sorted(names() - {BEATS} | files | PASSWORD_AS[name])
    assert f"      {BEATS}: " in text_of(name)


@pytest.mark.parametrize("name", COMPOSE)
def test_what_compose_passes_on_comes_from_the_same_name(name: str) -> None:
    for setting, variable in re.findall(r"^  ([A-Z_]+): \$\{([A-Z_]+):?-", block(name, "x-settings"), re.MULTILINE):
        assert setting == variable


def test_the_example_lists_exactly_the_settings() -> None:
    listed = re.findall(r"^# ([A-Z_]+)=", text_of(".env.example"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == names() | COMPOSES_OWN


def test_the_example_shows_the_defaults() -> None:
    shown = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", text_of(".env.example"), re.MULTILINE))
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, str | int | float) and name != "celery_broker_url":
            assert shown[name.upper()] == str(default), name


def test_both_compose_files_keep_our_containers_alike() -> None:
    first, second = (block(name, "x-ours") for name in COMPOSE)
    mounted = "".join(
        f"\n    - {name}" for name in re.findall(r"^  (\w+):\n", block(COMPOSE[1], "secrets"), re.MULTILINE)
    )
    assert first.replace(" [postgres_password]", mounted) == second


def test_each_secret_can_be_a_file_of_the_host_beside_a_scheduler() -> None:
    files = re.findall(r"^  (\w+):\n    file: \$\{SECRET_(\w+):-", block(COMPOSE[1], "secrets"), re.MULTILINE)
    assert all(name.upper() == variable for name, variable in files)
    assert {name for secret in SECRETS for name, _ in files if secret.lower().endswith(name)} == {
        name for name, _ in files
    }
    assert len(files) == len(SECRETS)


def test_the_example_beside_a_scheduler_sets_what_its_compose_file_passes_on() -> None:
    compose = text_of("docker-compose.residency.yml")
    set_ = dict(re.findall(r"^([A-Z_]+)=(.*)$", text_of("deploy/residency.env.example"), re.MULTILINE))
    assert set_["COMPOSE_FILE"] == "docker-compose.residency.yml"
    assert all(f"${{{name}" in compose for name in set_ if not name.startswith("COMPOSE_"))


def test_the_user_of_the_image_is_the_one_that_the_documentation_names() -> None:
    assert "USER 10001:10001" in text_of("Dockerfile")
    assert "10001" in text_of("docs/deployment.md")


def test_nothing_fetches_another_syntax() -> None:
    assert not re.search(r"^#\s*syntax\s*=", text_of("Dockerfile"), re.MULTILINE)


def test_the_dockerfile_is_free_of_what_the_linter_knows() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

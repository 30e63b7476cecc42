"""The direction of imports: the contracts are in pyproject.toml."""

import subprocess
import sys


def test_imports_point_one_way() -> None:
    # In a process of its own: the linter turns off the loggers of the one it runs in.
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_transport_alone_pulls_in_nothing_of_the_product() -> None:
    code = (
        "import sys, cutmv.transports.cloudflare; "
        "heavy = {'flask', 'boto3', 'sqlalchemy', 'cutmv.media', 'cutmv.app'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_celery_finds_the_app_by_the_name_of_the_package() -> None:
    code = "from celery.app.utils import find_app; print(find_app('cutmv').main)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "cutmv"

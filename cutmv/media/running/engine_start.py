"""Start the engine: `python -I engine_start.py`.

The packages around it would bring kombu, httpx and what else the parent needs, and take twice as
long to import as the engine itself; so they are here no more than the folders that they are in.
"""

import sys
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Run `cutmv.media.engine` without its parents."""
    media = Path(__file__).parent.parent
    for name, folder in (("cutmv", media.parent), ("cutmv.media", media)):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    from cutmv.media.engine.main import main as run

    run()


if __name__ == "__main__":
    main()

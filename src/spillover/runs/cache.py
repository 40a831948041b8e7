"""Where is kept what takes long to get or to make, for all runs of a user."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`SPILLOVER_CACHE`, else the user's cache folder: converted models and calibrations."""
    import platformdirs

    return Path(os.environ.get("SPILLOVER_CACHE") or platformdirs.user_cache_dir("spillover"))

"""From a generator to translated frames: export, engines, video."""

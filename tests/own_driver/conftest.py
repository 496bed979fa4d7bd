"""As a user's conftest.py: the fixtures come from the plugin."""

from harness.driver_plugin import load_driver, own_guest

__all__ = ["load_driver", "own_guest"]

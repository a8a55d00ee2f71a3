"""How fast, how large and how hungry is a model on this machine?"""

from tasks.profile.measure import profile
from tasks.profile.settings import ProfileSettings

__all__ = ["ProfileSettings", "profile"]

"""Ways to break the reference HAL on purpose: name → number in its registry value `Defect`.

The same table in C is guest_driver/reference_hal/defects.h; a test compares the two.
"""

from __future__ import annotations

from types import MappingProxyType

DEFECTS = MappingProxyType(
    {
        "double-grant": 1,  # whoever asks is granted
        "double-free-accepted": 2,  # a stale handle frees fine
        "null-not-written": 3,  # the handle cell is left alone when resources are lacking
    }
)

"""The table of suites: where every benchmark registers.

A suite is ``module:function``, the function taking :class:`bench.suite.Options` and yielding
comparisons; it is imported when it is run. To add one, write the function and add its line here.
"""

import pkgutil
from dataclasses import dataclass

from bench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table."""

    where: str
    """``module:function``."""
    about: str

    def load(self) -> Suite:
        """The suite itself."""
        suite: Suite = pkgutil.resolve_name(self.where)
        return suite


SUITES = {
    "translate": Entry(where="bench.translate:comparisons", about="our engines, uint8 to uint8"),
    "peers": Entry(where="bench.peers:comparisons", about="other ways to run the same generator"),
}

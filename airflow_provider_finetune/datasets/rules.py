"""How severe a problem is: for one endpoint or for any, and with the kinds that a user allows or refuses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_finetune.datasets.problem import KINDS, ErrorKind, Fault
from airflow_provider_finetune.datasets.vendors import ENDPOINTS, NAMES, RULES, VENDORS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_finetune.datasets.vendors import Endpoint, Vendor

_RULE_OF = {str(rule.kind): rule for rule in RULES}


class Severity(Enum):
    """Whether a problem makes a file bad, or is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Judged(NamedTuple):
    """A fault and how severe it is."""

    severity: Severity
    fault: Fault


@dataclass(frozen=True)
class Rules:
    """Decides what is an error, what a warning, and what is not worth a word.

    :ivar endpoint: ``openai``, ``azure``, ``nebius``, or ``any``: then what one vendor takes and another refuses is a
        warning that names who refuses it.
    :ivar allow: kinds that are not reported.
    :ivar refuse: kinds that are errors.
    :raises ValueError: the endpoint or a kind is none, or a kind is both allowed and refused.
    """

    endpoint: Endpoint = "any"
    allow: frozenset[str] = field(default_factory=frozenset)
    refuse: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint is {self.endpoint!r}; expected one of {', '.join(ENDPOINTS)}")
        for name, kinds in (("allow", self.allow), ("refuse", self.refuse)):
            for kind in sorted(kinds - KINDS):
                likely = get_close_matches(kind, KINDS, 1)
                hint = f"did you mean {likely[0]}?" if likely else f"expected one of {', '.join(sorted(KINDS))}"
                raise ValueError(f"{name} has {kind!r}, which is no kind of problem: {hint}")
        if both := self.allow & self.refuse:
            raise ValueError(f"{min(both)} is both allowed and refused")

    @classmethod
    def of(cls, endpoint: Endpoint = "any", allow: Iterable[str] = (), refuse: Iterable[str] = ()) -> Rules:
        """Return the rules for an endpoint, with kinds allowed and refused.

        :raises ValueError: see the class.
        """
        return cls(endpoint, frozenset(map(str, allow)), frozenset(map(str, refuse)))

    def judge(self, fault: Fault) -> Judged | None:
        """Return the fault with its severity; None when it is not to be reported.

        Where only some vendors refuse it, what is expected names them.
        """
        kind = str(fault.kind)
        if kind in self.refuse:
            return Judged(Severity.ERROR, fault)
        if kind in self.allow:
            return None
        rule = _RULE_OF.get(kind)
        if rule is None:
            return Judged(Severity.ERROR if isinstance(fault.kind, ErrorKind) else Severity.WARNING, fault)

        def verdict(vendor: Vendor) -> Verdict:
            found = rule.verdict(vendor)
            if fault.refused_by is None or found is Verdict.UNKNOWN:
                return found
            return Verdict.REFUSED if vendor in fault.refused_by else Verdict.TAKEN

        verdicts = {vendor: verdict(vendor) for vendor in VENDORS}
        mine = Verdict.UNKNOWN if self.endpoint == "any" else verdicts[self.endpoint]
        match mine:
            case Verdict.TAKEN:
                return None
            case Verdict.REFUSED:
                return Judged(Severity.ERROR, fault)
            case Verdict.DOUBTFUL:
                return Judged(Severity.WARNING, fault)
        against = [vendor for vendor in VENDORS if verdicts[vendor] is Verdict.REFUSED]
        if not {Verdict.TAKEN, Verdict.DOUBTFUL} & set(verdicts.values()):
            return Judged(Severity.ERROR, fault)
        named = against or [vendor for vendor in VENDORS if verdicts[vendor] is Verdict.DOUBTFUL]
        if not named:
            return None
        by = " and ".join(NAMES[vendor] for vendor in named)
        refuse = "may refuse" if not against else "refuses" if len(named) == 1 else "refuse"
        return Judged(Severity.WARNING, replace(fault, expected=f"{fault.expected} ({by} {refuse} such a file)"))


#: What holds for any endpoint.
ANY = Rules()

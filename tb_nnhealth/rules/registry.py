"""Every rule, in the order of the catalogue. To add a rule: write its file, add its line here."""

from __future__ import annotations

from tb_nnhealth.rules.base import Rule

RULES: tuple[Rule, ...] = ()

BY_ID = {rule.id: rule for rule in RULES}

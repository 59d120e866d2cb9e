"""First drafts from one's own data: a contract that extends `data/contract.yml`, and a policy.

    what the data hold → which column is which → YAML with a comment for every guess

A draft is a way in, not a decision: each line says what was seen and what a person must check. The
same data give the same text.
"""

from analysis.propose.contract_draft import contract_text
from analysis.propose.policy_draft import policy_text

__all__ = ["contract_text", "policy_text"]

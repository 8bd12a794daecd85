"""From figures to a verdict: policy, gates, rules, the earlier release."""

"""What happened, folded into numbers and lines: metrics and logs. Decides nothing, blocks nothing."""

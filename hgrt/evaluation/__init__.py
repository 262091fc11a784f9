"""How right a network is on labelled people, whatever runs it: predict, score, report, look."""

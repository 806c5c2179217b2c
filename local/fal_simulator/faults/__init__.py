"""What goes wrong on request: the rules, and the wrong answers that they lead to."""

"""What if a draft of a pricing had been in force: past usage rated by it, beside what was in force."""

"""What gradient steps and teacher-forced losses share: rows packed into lines, losses, optimiser states."""

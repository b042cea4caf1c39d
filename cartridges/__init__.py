"""Text to cartridge: self-study, closed-form start, distillation, store."""

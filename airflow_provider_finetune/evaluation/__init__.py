"""The rules of an evaluation, pure: examples, graders, answers, comparison of models, report. No I/O, no SDK."""

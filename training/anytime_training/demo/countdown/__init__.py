"""Countdown: reach a target with four numbers. The puzzles, their wordings, and thinking that searches."""

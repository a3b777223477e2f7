"""The main job, shown from end to end and judged by what three parties wrote down independently."""

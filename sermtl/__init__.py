"""Speech emotion recognition with multi-task learning: one run, no cluster.

errors <- config <- tasks <- corpus <- splits <- features <- model <- weighting <- evaluate <- train <- predict
"""

"""Setting an account up, and finding out what is wrong with a deployment.

`plan` is the difference between what a deployment needs and what the account has; `queues` (by way
of `client`) and `bucket` find it, `provision` applies it, and `doctor` tells of it among its other
`checks`, whose `finding`s are lines.
"""

"""The AWS endpoint of the local target: what `cdk`, `deployment`, the functions and the workflow talk to instead of AWS.

moto answers what it answers as AWS does; each module here says what of moto it replaces and why.
"""

"""Objects that others put into the bucket become uploads and jobs, as R2 tells of them.

`task` takes R2's messages, `alignment` brings the uploads of a key in line with the object that is
there, and `wishes` says which job is made of one.
"""

"""What audio and images are, as FFmpeg decodes them: fal reads them with it as well.

``audio`` and ``image`` decode, ``object_reader`` feeds them from S3, ``prober`` joins the two. Only
the function ``probe`` and the command line run these, in a process that has no fal key and no
table. ``remote`` asks that function; it decodes nothing.
"""

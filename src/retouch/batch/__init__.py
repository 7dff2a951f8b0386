"""Many photographs: pairs of photos and masks -> completed photos and a manifest, on one machine or several.

`pairs` lists what is to be done, `run` does what is not done yet through an engine (`local`), `work` completes
one photo whatever the engine, `manifest` remembers it, `storage` knows where files lie.
"""

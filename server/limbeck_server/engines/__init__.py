"""Direct calls of engines: what may be called, how callers share a run, and both ends of the way there.

    service  ->  front.EngineCalls  ~~ a worker's stream ~~>  calls.CallServer  ->  table.EngineTable

`front` and `catalog` are the front's; `batching`, `calls`, `pack_calls` and `table` the worker's, which alone loads a
runtime.
"""

// Galaxy Signal Service: consumers look signals up here, pipelines write them here. Keys and values are
// opaque to it; the values are SignalRecord structs (signal_record.thrift). Each replicate of a run has a store
// of its own, which is made when it is first named: [a-z][a-z0-9_]{0,63}. Every method may be repeated; a
// checkpoint that was written is refused the second time. Paths are those of GSS's own file system.
namespace py signals.gss

struct Values {
  1: list<binary> values    // of the first keys, in their order: as many as fit, at least one
  2: list<i32> missing      // positions in values of the keys that have none; theirs is empty
}

service Gss {
  Values multi_get(1: string store, 2: list<binary> keys)
  list<bool> contains(1: string store, 2: list<binary> keys)
  void put(1: string store, 2: list<binary> keys, 3: list<binary> values)   // all or none
  void ingest(1: string store, 2: list<string> paths)
  void checkpoint(1: string store, 2: string path)
  i64 count(1: string store)
  i32 drop(1: string prefix)   // removes the stores whose names start so; says how many
}

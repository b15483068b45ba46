// One signal of one image, as it rests in Rockstore and travels through GSS.
// Same content and field numbers as signal_record.proto.
namespace py signals.record

struct SignalRecord {
  1: string image_signature   // 32 hex characters
  2: string galaxy
  3: string signal
  4: i32 version
  5: i32 day                  // the day of the arrival that it was computed for
  6: string pipeline
  7: list<i32> shape
  8: binary values            // little-endian float32, packed, row-major
  9: string model_sha256
}

// The model inference service of the online path: one prepared image in, the signals of its galaxy out.
namespace py lambda_pipeline.online

struct Signal {
  1: string name
  2: i32 version
  3: list<i32> shape
  4: binary values            // little-endian float32, packed, row-major
}

struct Answer {
  1: list<Signal> signals     // empty where the image is at fault
  2: string failure_reason    // "" or why the image can't become a signal
  3: string failure_detail
  4: i64 batch_start_ns       // Unix time, by the service's clock
  5: i64 inference_end_ns
  6: i32 batch_size
  7: string device
  8: i32 batch_position       // 0 for exactly one image of each batch, so that a batch can be booked once
}

struct Description {
  1: string model_sha256
  2: list<string> devices
  3: list<string> signals     // "name vN" of each signal that is computed
}

service Inference {
  // image: uint8, size x size x 3, packed, row-major. deadline_ns: when the answer would be of no use.
  Answer infer(1: binary image, 2: string galaxy, 3: i64 deadline_ns)
  Description describe()
}

// The model inference service of the online path: prepared images in, the signals of their galaxies out.
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
  // images: uint8, N x size x size x 3, packed, row-major; galaxies: N names, at most 64. One answer per image, in
  // order. The images of a call wait for batches one by one, among those of other callers. deadline_ns: when
  // the answers would be of no use.
  list<Answer> infer(1: binary images, 2: list<string> galaxies, 3: i64 deadline_ns)
  Description describe()
}

// A model file and what it says about itself: read once, checked once, and only then run.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cyclegan {

// Frames that a plan was built for, in pixels; a graph takes what fits its size_multiple.
struct Sizes {
    int least_width = 1, least_height = 1;
    int most_width = 1 << 30, most_height = 1 << 30;
};

struct Model {
    enum class Kind { Graph, Plan };
    Kind kind = Kind::Graph;
    std::string name;  // the path, as messages show it
    std::string bytes;
    std::string source = "A", target = "B";  // domains
    std::string precision;                   // of a graph's weights, or that a plan computes in
    std::string weights_sha256;
    std::string warning;  // worth a line in the log, or empty
    int size_multiple = 1;
    Sizes sizes;
    std::string flavour, version;  // of the TensorRT that built a plan
};

// The newest formats that are read.
inline constexpr int kGraphFormat = 1, kPlanFormat = 1;
inline constexpr size_t kLargestModel = size_t{1} << 31;  // what Protocol Buffers can hold
inline constexpr size_t kLargestNote = size_t{1} << 20;

// Throws Error with FILE, MODEL, VERSION or UNSUPPORTED.
Model read_model(const std::string &path);

// The parts of it that take untrusted bytes: those of a graph, and the note (JSON) on a plan.
void describe_graph(Model &model);
void describe_plan(Model &model, std::string_view note);

// The whole content of a regular file below `limit` bytes. Throws Error with FILE or MODEL.
std::string read_file(const std::string &path, size_t limit);

}  // namespace cyclegan

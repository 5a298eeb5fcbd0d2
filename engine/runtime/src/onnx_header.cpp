// Protocol Buffers' wire format: a message is fields, each a key (number << 3 | wire type) and a
// value. An ONNX file is one ModelProto: 1 ir_version, 7 graph, 14 metadata_props, repeated; an
// entry of those is a message of 1 key and 2 value. Of a graph 1 are its nodes and 5 its weights; of
// a node 5 are its attributes, which have weights (5, 10) and graphs (6, 11) too; of a weight 13
// says, in such entries, in which other file its values are.
#include "onnx_header.h"

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "sha256.h"

namespace cyclegan {
namespace {

constexpr uint64_t kVersion = 1, kGraph = 7, kMetadata = 14, kKey = 1, kValue = 2;
constexpr uint64_t kNode = 1, kWeight = 5, kAttribute = 5, kElsewhere = 13;
// In every node that holds, however deep, a weight of another file: the key of its name there. Few
// nodes have to be looked into.
constexpr std::string_view kLocation = "location";

[[noreturn]] void damaged(const char *why) { throw std::invalid_argument(why); }

struct Field {
    uint64_t number = 0;
    std::string_view content;  // of a length-delimited field
    std::string_view whole;    // key and value as they stand in the file
};

class Reader {
  public:
    explicit Reader(std::string_view message) : rest_(message) {}

    std::optional<Field> next() {
        if (rest_.empty()) return std::nullopt;
        const std::string_view start = rest_;
        const uint64_t key = varint();
        Field field{.number = key >> 3, .content = {}, .whole = {}};
        switch (key & 7) {
            case 0: varint(); break;
            case 1: take(8); break;
            case 2: field.content = take(varint()); break;
            case 5: take(4); break;
            default: damaged("a field has an unknown wire type");
        }
        field.whole = start.substr(0, start.size() - rest_.size());
        return field;
    }

    // The content of the next one of that number.
    std::optional<std::string_view> next(uint64_t number) {
        while (const auto field = next())
            if (field->number == number) return field->content;
        return std::nullopt;
    }

  private:
    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<uint8_t>(take(1)[0]);
            value |= uint64_t{byte & 0x7fu} << shift;
            if (byte < 0x80) return value;
        }
        damaged("a number is too long");
    }

    std::string_view take(uint64_t count) {
        if (count > rest_.size()) damaged("it ends in the middle of a field");
        const std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }

    std::string_view rest_;
};

std::pair<std::string_view, std::string_view> entry(std::string_view message) {
    std::pair<std::string_view, std::string_view> entry;
    Reader reader(message);
    while (const auto field = reader.next()) {
        if (field->number == kKey) entry.first = field->content;
        if (field->number == kValue) entry.second = field->content;
    }
    return entry;
}

// The other file that holds the values of `weight`, if there is one.
std::optional<std::string_view> file_of(std::string_view weight) {
    std::optional<std::string_view> file;
    Reader reader(weight);
    while (const auto part = reader.next(kElsewhere)) {
        const auto [key, value] = entry(*part);
        if (key == kLocation) file = value;
        if (!file) file = "";
    }
    return file;
}

// The first such file of the weights of `node`; the graphs that it holds are added to `graphs`.
std::optional<std::string_view> file_of_node(std::string_view node,
                                             std::vector<std::string_view> &graphs) {
    Reader attributes(node);
    while (const auto attribute = attributes.next(kAttribute)) {
        Reader values(*attribute);
        while (const auto value = values.next()) {
            if (value->number == 5 || value->number == 10) {
                if (const auto file = file_of(value->content)) return file;
            } else if (value->number == 6 || value->number == 11) {
                graphs.push_back(value->content);
            }
        }
    }
    return std::nullopt;
}

// The first such file of `graph`, of its nodes and of the graphs that these hold, however deep.
std::optional<std::string_view> other_file(std::string_view graph) {
    std::vector<std::string_view> graphs{graph};
    while (!graphs.empty()) {
        Reader reader(graphs.back());
        graphs.pop_back();
        while (const auto field = reader.next()) {
            std::optional<std::string_view> file;
            if (field->number == kWeight)
                file = file_of(field->content);
            else if (field->number == kNode &&
                     field->content.find(kLocation) != std::string_view::npos)
                file = file_of_node(field->content, graphs);
            if (file) return file;
        }
    }
    return std::nullopt;
}

}  // namespace

OnnxHeader read_onnx_header(std::string_view bytes) {
    OnnxHeader header;
    Sha256 digest;
    bool version = false, graph = false;
    Reader reader(bytes);
    while (const auto field = reader.next()) {
        version |= field->number == kVersion;
        graph |= field->number == kGraph;
        if (field->number == kMetadata) {
            const auto [key, value] = entry(field->content);
            header.metadata.insert_or_assign(std::string(key), std::string(value));
            if (key == kOnnxDigestKey) continue;
        }
        // Of several, which readers merge.
        if (field->number == kGraph && !header.elsewhere)
            header.elsewhere = other_file(field->content);
        digest.add(field->whole);
    }
    if (!version || !graph) damaged("it has no graph");
    header.digest = digest.hex();
    return header;
}

}  // namespace cyclegan

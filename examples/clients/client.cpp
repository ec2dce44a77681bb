// Run the cases of a kit with ONNX Runtime's C++ API: client KIT OUTPUTS
#include <onnxruntime_cxx_api.h>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>

struct Kind { ONNXTensorElementDataType type; size_t bytes; };
#define K(NAME, BYTES) {ONNX_TENSOR_ELEMENT_DATA_TYPE_##NAME, BYTES}
const std::map<std::string, Kind> KINDS = {
    {"bool", K(BOOL, 1)}, {"float16", K(FLOAT16, 2)}, {"float32", K(FLOAT, 4)}, {"float64", K(DOUBLE, 8)},
    {"int8", K(INT8, 1)}, {"int16", K(INT16, 2)}, {"int32", K(INT32, 4)}, {"int64", K(INT64, 8)},
    {"uint8", K(UINT8, 1)}, {"uint16", K(UINT16, 2)}, {"uint32", K(UINT32, 4)}, {"uint64", K(UINT64, 8)}};
struct Case { std::vector<std::string> names; std::vector<Ort::Value> inputs; };
int main(int, char** given) {
    const std::filesystem::path kit = given[1], outputs = given[2];
    std::filesystem::create_directories(outputs);
    Ort::Env env;
    Ort::Session session(env, (kit / "model.onnx").c_str(), Ort::SessionOptions());
    Ort::AllocatorWithDefaultOptions memory;
    std::map<int, Case> cases;
    std::string line, id, number, name, kind, shape, file, size;
    std::ifstream index(kit / "cases.txt");
    index >> line >> number >> id >> std::ws;
    while (std::getline(index, line)) {
        std::istringstream fields(line);
        for (auto* field : {&number, &name, &kind, &shape, &file}) std::getline(fields, *field, '\t');
        std::vector<int64_t> axes;
        for (std::istringstream all(shape); std::getline(all, size, ',');) axes.push_back(std::stoll(size));
        auto input = Ort::Value::CreateTensor(memory, axes.data(), axes.size(), KINDS.at(kind).type);
        const auto bytes = input.GetTensorTypeAndShapeInfo().GetElementCount() * KINDS.at(kind).bytes;
        std::ifstream(kit / file, std::ios::binary).read((char*)input.GetTensorMutableRawData(), bytes);
        cases[std::stoi(number)].names.push_back(name);
        cases[std::stoi(number)].inputs.push_back(std::move(input));
    }
    std::ofstream told(outputs / "outputs.json");
    told << R"({"format": 1, "runtime": {"name": "onnxruntime", "version": ")" << Ort::GetVersionString()
         << R"(", "provider": "CPUExecutionProvider"}, "kit": )" << std::quoted(id) << R"(, "cases": [)";
    for (const auto& [at, one] : cases) {
        std::vector<const char*> in, out;
        std::vector<Ort::AllocatedStringPtr> names;
        for (const auto& input : one.names) in.push_back(input.c_str());
        for (size_t i = 0; i < session.GetOutputCount(); ++i)
            out.push_back(names.emplace_back(session.GetOutputNameAllocated(i, memory)).get());
        const auto values = session.Run({}, in.data(), one.inputs.data(), in.size(), out.data(), out.size());
        told << (at ? "]},\n" : "\n") << R"({"case": )" << at << R"(, "outputs": [)";
        for (size_t i = 0; i < values.size(); ++i) {
            const auto about = values[i].GetTensorTypeAndShapeInfo();
            for (const auto& [dtype, its] : KINDS) if (its.type == about.GetElementType()) kind = dtype;
            file = std::to_string(at) + "-" + std::to_string(i) + ".bin", shape = "";
            for (auto axis : about.GetShape()) shape += (shape.empty() ? "" : ", ") + std::to_string(axis);
            const auto bytes = about.GetElementCount() * KINDS.at(kind).bytes;
            std::ofstream(outputs / file, std::ios::binary).write((char*)values[i].GetTensorRawData(), bytes);
            told << (i ? ", " : "") << R"({"name": )" << std::quoted(out[i]) << R"(, "dtype": ")" << kind
                 << R"(", "shape": [)" << shape << R"(], "file": ")" << file << R"("})";
        }
    }
    told << "]}]}\n";
}

# Every outside package as one interface target. Static archives wherever they exist, so that one
# binary runs on a machine with none of them installed (docs/building.md, "The portable binary").
# Debian's CMake configs name the shared libraries of gRPC, so archives are found through pkg-config.
include(PinnedSource)
find_package(PkgConfig REQUIRED)

# Header-only ones.
add_library(slip_expected INTERFACE)                     # tl::expected
add_library(slip_fmt INTERFACE)
target_compile_definitions(slip_fmt INTERFACE FMT_HEADER_ONLY=1)
add_library(slip_spdlog INTERFACE)                       # with our fmt, not a bundled one
target_compile_definitions(slip_spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(slip_spdlog INTERFACE slip_fmt)
find_package(nlohmann_json 3.11 REQUIRED)
add_library(slip_json ALIAS nlohmann_json::nlohmann_json)
find_package(CLI11 REQUIRED)
add_library(slip_cli INTERFACE)
target_link_libraries(slip_cli INTERFACE CLI11::CLI11)

# slip_archive_target(NAME PKG...): link the static archives that `pkg-config --static PKG` names.
function(slip_archive_target name)
  pkg_check_modules(${name}_PC REQUIRED ${ARGN})
  set(libs ${${name}_PC_STATIC_LIBRARIES})
  list(REMOVE_ITEM libs dl pthread rt atomic m c stdc++)
  list(REMOVE_DUPLICATES libs)
  set(archives)
  foreach(lib IN LISTS libs)
    find_library(SLIP_ARCHIVE_${lib} NAMES lib${lib}.a REQUIRED)
    list(APPEND archives ${SLIP_ARCHIVE_${lib}})
  endforeach()
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE -Wl,--start-group ${archives} -Wl,--end-group
    Threads::Threads ${CMAKE_DL_LIBS})
endfunction()

slip_archive_target(slip_grpc grpc++ protobuf)
# Server reflection has no .pc file.
find_library(SLIP_ARCHIVE_grpc_reflection NAMES libgrpc++_reflection.a REQUIRED)
add_library(slip_grpc_reflection INTERFACE)
target_link_libraries(slip_grpc_reflection INTERFACE ${SLIP_ARCHIVE_grpc_reflection} slip_grpc)
slip_archive_target(slip_pcre2 libpcre2-8)
target_compile_definitions(slip_pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8 PCRE2_STATIC)

# libssl and libcrypto are among gRPC's archives; a second group of them would be merged into one
# that does not hold everything.
find_path(OPENSSL_INCLUDE_DIR openssl/ssl.h REQUIRED)
add_library(slip_openssl INTERFACE)
target_include_directories(slip_openssl SYSTEM INTERFACE ${OPENSSL_INCLUDE_DIR})
target_link_libraries(slip_openssl INTERFACE slip_grpc)

find_program(PROTOC protoc REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# Boost 1.81 for Beast and Asio with coroutines; the default 1.74 of Debian 12 does not compile
# with gcc 12 in C++20.
find_package(Boost 1.81 REQUIRED)
add_library(slip_boost INTERFACE)
target_link_libraries(slip_boost INTERFACE Boost::headers)
target_compile_definitions(slip_boost INTERFACE BOOST_ERROR_CODE_HEADER_ONLY)
if(Boost_VERSION_STRING VERSION_LESS 1.86)
  # An assertion of Beast is wrong where an empty chunked body arrives in pieces ("0\r\n", "\r",
  # "\n"), and would let any client end the server; mended by boostorg/beast pull request 2861.
  target_compile_definitions(slip_boost INTERFACE BOOST_DISABLE_ASSERTS)
endif()

# Debian's libsentencepiece.so carries an older Protobuf and aborts beside ours: build the archive.
slip_pinned_source(sentencepiece 0.2.0
  a52c19171daaf2e697dc6cbe67684e0fa341b1248966f6aebb541de654d15843 SENTENCEPIECE_SOURCE)
set(SPM_ENABLE_SHARED OFF CACHE BOOL "" FORCE)
set(SPM_ENABLE_TCMALLOC OFF CACHE BOOL "" FORCE)
set(SPM_BUILD_TEST OFF CACHE BOOL "" FORCE)
set(SPM_PROTOBUF_PROVIDER package CACHE STRING "" FORCE)
set(SPM_ABSL_PROVIDER internal CACHE STRING "" FORCE)
# Its own look for Protobuf would take the shared library. The full archive holds the lite one.
set(Protobuf_LITE_LIBRARY ${SLIP_ARCHIVE_protobuf} CACHE FILEPATH "" FORCE)
set(Protobuf_LITE_LIBRARY_RELEASE ${SLIP_ARCHIVE_protobuf} CACHE FILEPATH "" FORCE)
set(Protobuf_LITE_LIBRARY_DEBUG ${SLIP_ARCHIVE_protobuf} CACHE FILEPATH "" FORCE)
set(CMAKE_POLICY_VERSION_MINIMUM 3.5)
add_subdirectory(${SENTENCEPIECE_SOURCE}/sentencepiece ${CMAKE_BINARY_DIR}/_sentencepiece EXCLUDE_FROM_ALL)
add_library(slip_sentencepiece INTERFACE)
target_include_directories(slip_sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_SOURCE}/sentencepiece/src)
target_link_libraries(slip_sentencepiece INTERFACE sentencepiece-static slip_grpc)

# Unicode categories and normal forms for the tokenizers.
find_library(SLIP_ARCHIVE_utf8proc NAMES libutf8proc.a REQUIRED)
find_path(UTF8PROC_INCLUDE_DIR utf8proc.h REQUIRED)
add_library(slip_utf8proc INTERFACE)
target_include_directories(slip_utf8proc SYSTEM INTERFACE ${UTF8PROC_INCLUDE_DIR})
target_link_libraries(slip_utf8proc INTERFACE ${SLIP_ARCHIVE_utf8proc})
target_compile_definitions(slip_utf8proc INTERFACE UTF8PROC_STATIC)

# Grammars for structured output. Its own CMake files ask for Python, -O3 and link-time code
# generation of everything; the sources need none of that.
slip_pinned_source(xgrammar 0.2.8
  8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80 XGRAMMAR_SOURCE)
file(GLOB_RECURSE XGRAMMAR_FILES ${XGRAMMAR_SOURCE}/cpp/*.cc)
list(FILTER XGRAMMAR_FILES EXCLUDE REGEX "/cpp/tvm_ffi/")

# slip_patch_xgrammar(FILE WRONG RIGHT [WRONG RIGHT]...)
#   Compiles a copy of one of its files with other texts in it.
function(slip_patch_xgrammar name)
  set(patched ${CMAKE_BINARY_DIR}/_xgrammar/${name})
  file(READ ${XGRAMMAR_SOURCE}/cpp/${name} text)
  math(EXPR last "${ARGC} - 1")
  foreach(i RANGE 1 ${last} 2)
    math(EXPR j "${i} + 1")
    string(FIND "${text}" "${ARGV${i}}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "xgrammar's ${name} has no \"${ARGV${i}}\"")
    endif()
    string(REPLACE "${ARGV${i}}" "${ARGV${j}}" text "${text}")
  endforeach()
  file(CONFIGURE OUTPUT ${patched} CONTENT "#include \"xgrammar_gate.h\"\n${text}" @ONLY)
  list(REMOVE_ITEM XGRAMMAR_FILES ${XGRAMMAR_SOURCE}/cpp/${name})
  set(XGRAMMAR_FILES ${XGRAMMAR_FILES} ${patched} PARENT_SCOPE)
endfunction()

# Strings with minLength or maxLength may hold control characters there, which JSON forbids.
slip_patch_xgrammar(json_schema_converter.cc
  [[{'\r', '\r'}, {'\n', '\n'}}, true)]] [[{0x00, 0x1f}}, true)]])
# Compiles have no end of their own: src/grammar/xgrammar_gate.h.
slip_patch_xgrammar(grammar_builder.cc
  [[  grammar_->grammar_expr_indptr_.push_back(grammar_->grammar_expr_data_.size());]]
  [[  slipstream::OnGrammarWork(grammar_expr.data_len + 4);
  grammar_->grammar_expr_indptr_.push_back(grammar_->grammar_expr_data_.size());]])
slip_patch_xgrammar(grammar_functor.cc
  "            info.suffix_after_first_occurrence.assign("
  "            slipstream::OnGrammarWork(sequence_expr.size() - j);
            info.suffix_after_first_occurrence.assign(")
slip_patch_xgrammar(earley_parser.cc
  "bool EarleyParser::Advance(const uint8_t ch, bool debug_print) {"
  "bool EarleyParser::Advance(const uint8_t ch, bool debug_print) {
  slipstream::OnGrammarWork(0);"
  "void EarleyParser::PushStateAndExpand(const ParserState& state) {"
  "void EarleyParser::PushStateAndExpand(const ParserState& state) {
  slipstream::OnGrammarWork(0);")
slip_patch_xgrammar(fsm.cc
  "FSM FSM::Impl::RebuildWithMapping(const std::vector<int>& state_mapping, int new_num_states) const {"
  "FSM FSM::Impl::RebuildWithMapping(const std::vector<int>& state_mapping, int new_num_states) const {
  slipstream::OnGrammarWork(0);")
slip_patch_xgrammar(compiled_grammar.cc
  "  this->uncertain_indices = uncertain_indices;\n}"
  "  this->uncertain_indices = uncertain_indices;
  slipstream::OnGrammarWork(64 + uncertain_indices.size() + (store_type == StoreType::kAcceptedBitset
      ? vocab_size / 32 : this->accepted_indices.size() + this->rejected_indices.size()));\n}")

add_library(xgrammar STATIC EXCLUDE_FROM_ALL ${XGRAMMAR_FILES}
  ${CMAKE_SOURCE_DIR}/src/grammar/xgrammar_log.cc ${CMAKE_SOURCE_DIR}/src/grammar/xgrammar_gate.cc)
target_include_directories(xgrammar SYSTEM PUBLIC ${XGRAMMAR_SOURCE}/include
  ${XGRAMMAR_SOURCE}/3rdparty/picojson ${XGRAMMAR_SOURCE}/3rdparty/dlpack/include)
target_include_directories(xgrammar PRIVATE ${XGRAMMAR_SOURCE}/cpp ${CMAKE_SOURCE_DIR}/src/grammar)
target_compile_definitions(xgrammar PRIVATE XGRAMMAR_ENABLE_CPPTRACE=0
  XGRAMMAR_ENABLE_INTERNAL_CHECK=0 XGRAMMAR_LOG_CUSTOMIZE=1)
# Escapes with many hexadecimal digits overflow in it, and come out as characters there are not.
target_compile_options(xgrammar PRIVATE -w -fwrapv)
if(CMAKE_CXX_COMPILER_ID STREQUAL Clang)
  # Its variants of types that are declared only later: clang refuses them in C++20.
  set_target_properties(xgrammar PROPERTIES CXX_STANDARD 17)
endif()

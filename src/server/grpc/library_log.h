// Lines of gRPC and protobuf as lines of our log, in its form and at its level: they write to
// stderr themselves otherwise, one for every message or handshake that a client got wrong.
// Once per process, before gRPC starts; the lines come from any thread.
#pragma once

namespace slipstream {

void TakeOverLibraryLogs();

}  // namespace slipstream

// The methods of proto/slipstream/v1/inference.proto on the Service. Owned by GrpcServer; gRPC
// calls it on its own threads. Errors are the canonical codes, the field at fault in the details.
// Internal to grpc/.
#pragma once

#include <memory>
#include <vector>

#include "server/service.h"
#include "slipstream/v1/inference.grpc.pb.h"

namespace slipstream {

// Generations live on `loops`.
std::unique_ptr<grpc::Service> MakeInferenceService(Service& service,
                                                    std::vector<EventLoop*> loops);

}  // namespace slipstream

// The endpoints of those who run the server: /health, /ready, /metrics, /version, and what the API
// is, /openapi.json. They never ask for a key.
#pragma once

#include "server/http/router.h"
#include "server/service.h"

namespace slipstream {

void AddOperationRoutes(Service& service, Router* router);

}  // namespace slipstream

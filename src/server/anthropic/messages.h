// Puts /v1/messages and /v1/messages/count_tokens on a router. Called once before the listener
// starts; the service must outlive the router.
#pragma once

#include "server/http/router.h"
#include "server/service.h"

namespace slipstream {

void AddMessagesRoutes(Service& service, Router* router);

}  // namespace slipstream

// Every endpoint of the HTTP front, as openapi.json describes them. Called once before the listener
// starts; the service must outlive the router.
#pragma once

#include "server/http/router.h"
#include "server/service.h"

namespace slipstream {

void AddAllRoutes(Service& service, Router* router);

}  // namespace slipstream

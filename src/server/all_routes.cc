#include "server/all_routes.h"

#include "server/anthropic/messages.h"
#include "server/openai/routes.h"
#include "server/operations.h"
#include "server/page/page.h"

namespace slipstream {

void AddAllRoutes(Service& service, Router* router) {
  AddChatRoutes(service, router);
  AddCompletionRoutes(service, router);
  AddEmbeddingRoutes(service, router);
  AddResponsesRoutes(service, router);
  AddMessagesRoutes(service, router);
  AddModelRoutes(service, router);
  AddTokenizeRoutes(service, router);
  AddOperationRoutes(service, router);
  if (service.config().page) AddPageRoute(router);
}

}  // namespace slipstream

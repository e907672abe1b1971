// Puts the OpenAI endpoints and their neighbours on a router. Called once before the listener
// starts; the service must outlive the router.
#pragma once

#include "server/http/router.h"
#include "server/service.h"

namespace slipstream {

void AddChatRoutes(Service& service, Router* router);        // POST /v1/chat/completions
void AddCompletionRoutes(Service& service, Router* router);  // POST /v1/completions
void AddEmbeddingRoutes(Service& service, Router* router);   // POST /v1/embeddings
void AddModelRoutes(Service& service, Router* router);       // GET /v1/models, /v1/models/{id}
void AddResponsesRoutes(Service& service, Router* router);   // /v1/responses
void AddTokenizeRoutes(Service& service, Router* router);    // POST /tokenize, /detokenize

}  // namespace slipstream

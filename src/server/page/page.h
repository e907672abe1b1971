// The page at /: a chat and live figures, for whoever starts a server and wants to see it work. One
// file, embedded at build time, that loads nothing from elsewhere; the browser is told to run no
// script but its own.
#pragma once

#include "server/http/router.h"

namespace slipstream {

void AddPageRoute(Router* router);

}  // namespace slipstream

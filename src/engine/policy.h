// The order in which sequences are served: smaller priority value first, then older request, then
// lower choice. The last one in this order is the first to be preempted. Pure, any thread.
#pragma once

#include "engine/sequence.h"

namespace slipstream {

struct RunsBefore {
  bool operator()(const Sequence* a, const Sequence* b) const {
    const SequenceGroup& ga = *a->group;
    const SequenceGroup& gb = *b->group;
    if (ga.request.priority != gb.request.priority) {
      return ga.request.priority < gb.request.priority;
    }
    if (ga.arrival != gb.arrival) return ga.arrival < gb.arrival;
    return a->choice < b->choice;
  }
};

}  // namespace slipstream

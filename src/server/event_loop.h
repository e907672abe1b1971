// One I/O thread as the service sees it: a place to run closures and a mailbox for token events.
// Owned by the transport; everything a Generation tells its observer happens on its loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "server/mailbox.h"

namespace slipstream {

class PromptSink;

// The events of one step for one prompt of a generation.
struct StreamMail {
  std::shared_ptr<PromptSink> sink;
  std::vector<TokenEvent> events;
};

class EventLoop {
 public:
  virtual ~EventLoop() = default;
  // Any thread; runs `task` on the loop's thread. Tasks posted to a stopped loop are dropped.
  virtual void Post(std::function<void()> task) = 0;
  // Shared with sinks, which may outlive the loop.
  virtual const std::shared_ptr<Mailbox<StreamMail>>& mailbox() const = 0;
};

// Delivers what the engine has put into a loop's mailbox; the loop calls it on its thread when
// woken.
void DeliverMail(Mailbox<StreamMail>& mailbox);

}  // namespace slipstream

// Connections without end on both fronts, and descriptors that run out under them.
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <filesystem>
#include <iterator>

#include "slipstream/v1/inference.grpc.pb.h"
#include "tests/server/wire_fixture.h"

namespace slipstream::testing {
namespace {

// The most files that this process may have open, until the end of a test.
class FileLimit {
 public:
  FileLimit() { getrlimit(RLIMIT_NOFILE, &old_); }
  ~FileLimit() { setrlimit(RLIMIT_NOFILE, &old_); }
  void LeaveRoomFor(rlim_t more) {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    rlimit limit = old_;
    limit.rlim_cur = static_cast<rlim_t>(std::distance(begin(open), end(open))) + more;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }

 private:
  rlimit old_{};
};

class ConnectionLimits : public Wire {
 protected:
  ConnectionLimits() { config_.grpc_port = -1; }

  // On a channel of its own, that is on a new connection.
  grpc::StatusCode AskGrpc() {
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel(
        fmt::format("127.0.0.1:{}", server_->grpc_port()), grpc::InsecureChannelCredentials(), own);
    grpc::ClientContext context;
    v1::GetLoadResponse load;
    return v1::Inference::NewStub(channel)->GetLoad(&context, {}, &load).error_code();
  }
  bool BothServe() {
    return Eventually(
        [&] { return AskGrpc() == grpc::StatusCode::OK && Ask("GET", "/health").status == 200; });
  }
  int64_t Refused() {
    const std::string name = "\nslipstream_connections_refused_total{model_name=\"tiny\"} ";
    const std::string page = Ask("GET", "/metrics").body;
    return std::stol(page.substr(page.find(name) + name.size()));
  }
};

TEST_F(ConnectionLimits, GrpcKeepsToItsOwn) {
  config_.max_connections = 2;
  StartServer();
  {
    WireClient first(server_->grpc_port()), second(server_->grpc_port());
    ASSERT_TRUE(first.WaitFor("\x04"));  // a SETTINGS frame: it is taken
    ASSERT_TRUE(second.WaitFor("\x04"));
    EXPECT_EQ(AskGrpc(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_GE(Refused(), 1);
  }
  EXPECT_TRUE(BothServe());
}

TEST_F(ConnectionLimits, TheLastDescriptorsAreKept) {
  StartServer();
  FileLimit limit;
  limit.LeaveRoomFor(40);
  std::vector<std::unique_ptr<WireClient>> clients;
  int status = 200;
  while (status == 200 && clients.size() < 40) {
    clients.push_back(std::make_unique<WireClient>(port()));
    status = clients.back()->Ask("GET", "/health").status;
  }
  EXPECT_EQ(status, 503);
  EXPECT_EQ(clients.front()->Ask("GET", "/health").status, 200);
  clients.clear();
  EXPECT_TRUE(BothServe());
  EXPECT_GE(Refused(), 1);
}

TEST_F(ConnectionLimits, BothFrontsOutliveAWantOfDescriptors) {
  StartServer();
  FileLimit limit;
  limit.LeaveRoomFor(40);
  {
    // The clients are of this process too, and leave no descriptor for the server's side.
    std::vector<std::unique_ptr<WireClient>> clients;
    for (int i = 0; i < 60; ++i) {
      clients.push_back(std::make_unique<WireClient>(i % 2 == 0 ? port() : server_->grpc_port()));
    }
    EXPECT_FALSE(clients.back()->connected());
  }
  EXPECT_TRUE(BothServe());
}

TEST_F(ConnectionLimits, AStartRaisesALowLimit) {
  StartServer();
  FileLimit limit;
  limit.LeaveRoomFor(5);
  rlimit both{};
  getrlimit(RLIMIT_NOFILE, &both);
  ServerConfig config = config_;
  config.max_connections = 1;
  // The hard limit of a test's process lets the server raise its own again.
  const auto second =
      Server::Start(config, ModelInfo{.name = "tiny"}, tokenizer_, nullptr, *engine_);
  ASSERT_TRUE(second) << second.error().message;
  rlimit raised{};
  getrlimit(RLIMIT_NOFILE, &raised);
  EXPECT_GT(raised.rlim_cur, both.rlim_cur);
}

}  // namespace
}  // namespace slipstream::testing

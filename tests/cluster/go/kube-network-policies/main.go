// Program kube-network-policies decides about the connections of one node's pods as the cluster's NetworkPolicies say.
//
// It is the controller of sigs.k8s.io/kube-network-policies with a main of its own, as the released one takes its
// credentials from a pod only. The controller's own nftables rules need CONFIG_NFT_QUEUE; where the kernel lacks it
// they are refused as a whole, and the rules that the cluster's network makes with iptables fill the queue alone.
package main

import (
	"context"
	"flag"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	node := flag.String("hostname-override", "", "the node whose pods are looked after")
	queue := flag.Int("nfqueue-id", 100, "the queue that new connections come from")
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	rest, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		klog.Fatal(err)
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		shared.Networking().V1().NetworkPolicies(),
		shared.Core().V1().Namespaces(),
		shared.Core().V1().Pods(),
		nil, nil, nil, nil, // the experimental policies of administrators
		networkpolicy.Config{NodeName: *node, QueueID: *queue},
	)
	if err != nil {
		klog.Fatal(err)
	}
	shared.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		klog.Fatal(err)
	}
}
